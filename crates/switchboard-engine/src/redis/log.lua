-- What every script about a log goes on with. The log is one hash:
--   g  generation        h  head        n  how many seats
--   s:<peer>     the seat, packed: peer, address, node, epoch, since, card
--   a:<address>  the peer that is called so
--   f:<node>     up to which epoch the node is fenced
-- ARGV begins with: PUBLISH or SPUBLISH, the channel for news, the node that asks, its epoch.
local key = KEYS[1]
local verb, channel, node, epoch = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local generation, head, count, fence, was_empty

local function garbage()
  error({err = 'GARBAGE ' .. key .. ' is not as Switchboard writes it'})
end

local function number(value)
  if not value then
    return nil
  end
  local it = tonumber(value)
  if not it or it < 0 or it >= 2 ^ 53 or it ~= math.floor(it) then
    garbage()
  end
  return it
end

local function unpack_seat(packed)
  local fields, at = {}, 1
  while at <= #packed do
    local colon = string.find(packed, ':', at, true) or garbage()
    local last = colon + number(string.sub(packed, at, colon - 1))
    fields[#fields + 1] = string.sub(packed, colon + 1, last)
    at = last + 1
  end
  if #fields ~= 6 or at ~= #packed + 1 then
    garbage()
  end
  local seat = {peer = fields[1], address = fields[2], node = fields[3], card = fields[6]}
  seat.epoch, seat.since = number(fields[4]), number(fields[5])
  return seat
end

local function pack_seat(seat)
  return pack({seat.peer, seat.address, seat.node, text(seat.epoch), text(seat.since), seat.card})
end

local function seat_of(peer)
  local packed = redis.call('HGET', key, 's:' .. peer)
  return packed and unpack_seat(packed)
end

-- All packed seats.
local function packed_seats()
  local all, seats = redis.call('HGETALL', key), {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 's:' then
      seats[#seats + 1] = all[i + 1]
    end
  end
  return seats
end

-- The seats that the asking node has under its epoch or an older one, oldest first.
local function own_seats()
  local own = {}
  for _, packed in ipairs(packed_seats()) do
    local seat = unpack_seat(packed)
    if seat.node == node and seat.epoch <= epoch then
      own[#own + 1] = seat
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
    garbage()
  end
end

-- Begins a life that is later than all that is known of this log.
local function begin(known_generation, known_head)
  local time = redis.call('TIME')
  local seed = time[1] * 1000000 + time[2]
  seed = math.max(seed, known_generation + 1, known_head + 1, (generation or 0) + 1, (head or 0) + 1)
  generation, head = seed, seed
end

local function tell(kind, ...)
  redis.call(verb, channel, pack({'1', text(generation), text(head), kind, ...}))
end

-- Gives a seat at the next position, or restores one that was at `since`.
local function seat(peer, address, card, since)
  head = math.max(head, since or 0) + 1
  local packed = pack_seat({
    peer = peer, address = address, node = node, epoch = epoch, since = since or head, card = card,
  })
  redis.call('HSET', key, 's:' .. peer, packed, 'a:' .. address, peer)
  count = count + 1
  tell('join', packed)
end

local function free(gone, departure)
  redis.call('HDEL', key, 's:' .. gone.peer, 'a:' .. gone.address)
  head, count = head + 1, count - 1
  tell('leave', gone.peer, departure)
end

local function save()
  redis.call('HSET', key, 'g', text(generation), 'h', text(head), 'n', text(count))
  if count == 0 and not was_empty then
    -- Longer than a node looks at a log that it has nobody in.
    redis.call('EXPIRE', key, 60)
  elseif count > 0 and was_empty then
    redis.call('PERSIST', key)
  end
end

local function snapshot()
  return generation ~= nil and {text(generation), text(head), packed_seats()}
end

load()
