-- The common part of every script about a log. A log is one hash:
--   g  generation        h  head        n  number of members
--   s:<peer>     the member, packed: peer, address, node, epoch, since, metadata
--   a:<address>  the peer with this address
--   f:<node>     the epoch up to which changes of the node are rejected
-- ARGV begins with: PUBLISH or SPUBLISH, the channel for events, the requesting node, its epoch.
local key = KEYS[1]
local verb, channel, node, epoch = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local generation, head, count, fence, was_empty

local function fail_corrupt()
  error({err = 'GARBAGE ' .. key .. ' is malformed'})
end

local function number(value)
  if not value then
    return nil
  end
  local parsed = tonumber(value)
  if not parsed or parsed < 0 or parsed >= 2 ^ 53 or parsed ~= math.floor(parsed) then
    fail_corrupt()
  end
  return parsed
end

local function unpack_member(packed)
  local fields, at = {}, 1
  while at <= #packed do
    local colon = string.find(packed, ':', at, true) or fail_corrupt()
    local last = colon + number(string.sub(packed, at, colon - 1))
    fields[#fields + 1] = string.sub(packed, colon + 1, last)
    at = last + 1
  end
  if #fields ~= 6 or at ~= #packed + 1 then
    fail_corrupt()
  end
  local member = {peer = fields[1], address = fields[2], node = fields[3], metadata = fields[6]}
  member.epoch, member.since = number(fields[4]), number(fields[5])
  return member
end

local function pack_member(member)
  return pack({member.peer, member.address, member.node, text(member.epoch), text(member.since), member.metadata})
end

local function member_of(peer)
  local packed = redis.call('HGET', key, 's:' .. peer)
  return packed and unpack_member(packed)
end

-- Returns all packed members.
local function packed_members()
  local all, members = redis.call('HGETALL', key), {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 's:' then
      members[#members + 1] = all[i + 1]
    end
  end
  return members
end

-- Returns the members that the requesting node has under its epoch or an older one, oldest first.
local function own_members()
  local own = {}
  for _, packed in ipairs(packed_members()) do
    local member = unpack_member(packed)
    if member.node == node and member.epoch <= epoch then
      own[#own + 1] = member
    end
  end
  table.sort(own, function(a, b)
    if a.since ~= b.since then
      return a.since < b.since
    end
    return a.peer < b.peer
  end)
  return own
end

local function load()
  local state = redis.call('HMGET', key, 'g', 'h', 'n', 'f:' .. (node or ''))
  generation, head, count = number(state[1]), number(state[2]), number(state[3]) or 0
  fence = number(state[4]) or 0
  was_empty = count == 0
  if generation and not head or count > 0 and not generation then
    fail_corrupt()
  end
end

-- Begins a generation that is greater than every known version of this log.
local function begin_generation(known_generation, known_head)
  local time = redis.call('TIME')
  local seed = time[1] * 1000000 + time[2]
  seed = math.max(seed, known_generation + 1, known_head + 1, (generation or 0) + 1, (head or 0) + 1)
  generation, head = seed, seed
end

local function publish_event(kind, ...)
  redis.call(verb, channel, pack({'1', text(generation), text(head), kind, ...}))
end

-- Adds a member at the next position, or restores a member that joined at `since`.
local function add_member(peer, address, metadata, since)
  head = head + 1
  local packed = pack_member({
    peer = peer, address = address, node = node, epoch = epoch, since = since or head, metadata = metadata,
  })
  redis.call('HSET', key, 's:' .. peer, packed, 'a:' .. address, peer)
  count = count + 1
  publish_event('join', packed)
end

local function remove_member(member, cause)
  redis.call('HDEL', key, 's:' .. member.peer, 'a:' .. member.address)
  head, count = head + 1, count - 1
  publish_event('leave', member.peer, cause)
end

local function save()
  redis.call('HSET', key, 'g', text(generation), 'h', text(head), 'n', text(count))
  if count == 0 and not was_empty then
    -- Longer than the time for which a node keeps its replica of an empty log.
    redis.call('EXPIRE', key, 60)
  elseif count > 0 and was_empty then
    redis.call('PERSIST', key)
  end
end

local function snapshot()
  return generation ~= nil and {text(generation), text(head), packed_members()}
end

load()
