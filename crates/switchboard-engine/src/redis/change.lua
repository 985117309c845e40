-- ARGV: …, seats, then `join`, peer, address, card
--                  or `leave`, peer, departure, whether it is an eviction
local seats, kind, peer = tonumber(ARGV[5]), ARGV[6], ARGV[7]

local function join(address, card)
  local present = seat_of(peer)
  if present then
    return {'present', text(present.since)}
  end
  if redis.call('HEXISTS', key, 'a:' .. address) == 1 then
    return {'taken'}
  end
  if seats > 0 and count >= seats then
    return {'full'}
  end
  if not generation then
    begin(0, 0)
  end
  seat(peer, address, card)
  return {'at', text(generation), text(head)}
end

local function leave(departure, is_eviction)
  local present = seat_of(peer)
  if not present then
    return {'absent'}
  end
  if not is_eviction and (present.node ~= node or present.epoch > epoch) then
    return {'absent'}
  end
  free(present, departure)
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
