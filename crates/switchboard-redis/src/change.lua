-- ARGV: ..., maximum number of members, then `join`, peer, address, metadata
--                                    or `leave`, peer, cause, whether it is an eviction
local members_max, kind, peer = tonumber(ARGV[5]), ARGV[6], ARGV[7]

local function join(address, metadata)
  local present = member_of(peer)
  if present then
    return {'present', text(present.since)}
  end
  if redis.call('HEXISTS', key, 'a:' .. address) == 1 then
    return {'taken'}
  end
  if members_max > 0 and count >= members_max then
    return {'full'}
  end
  if not generation then
    begin_generation(0, 0)
  end
  add_member(peer, address, metadata)
  return {'at', text(generation), text(head)}
end

local function leave(cause, is_eviction)
  local present = member_of(peer)
  if not present then
    return {'absent'}
  end
  if not is_eviction and (present.node ~= node or present.epoch > epoch) then
    return {'absent'}
  end
  remove_member(present, cause)
  return {'at', text(generation), text(head)}
end

local function change()
  if fence >= epoch then
    return {'fenced'}
  end
  if kind == 'join' then
    return join(ARGV[8], ARGV[9])
  end
  return leave(ARGV[8], ARGV[9] == '1')
end

local outcome = change()
if outcome[1] == 'at' then
  save()
end
return outcome
