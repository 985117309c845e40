-- ARGV: …, known generation, known head, seats, then peer, address, since (or nothing), card of
-- each wanted seat.
local known_generation, known_head, seats = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local declined = {}

if fence >= epoch then
  return {1, declined, snapshot()}
end

local is_wanted, present = {}, {}
for i = 8, #ARGV, 4 do
  is_wanted[ARGV[i]] = true
  present[ARGV[i]] = seat_of(ARGV[i])
end
local own = own_seats()

local is_new = not generation
if
  is_new
  or generation < known_generation
  or (generation == known_generation and head < known_head)
then
  begin(known_generation, known_head)
end

-- First, so that whom the node has let go stands in nobody's way.
for _, its in ipairs(own) do
  if not is_wanted[its.peer] then
    free(its, 'aloud')
  end
end

for i = 8, #ARGV, 4 do
  local peer, address, since, card = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  local there = present[peer]
  if there then
    if there.node ~= node or there.epoch < epoch then
      there.node, there.epoch = node, epoch
      redis.call('HSET', key, 's:' .. peer, pack_seat(there))
    end
  elseif redis.call('HEXISTS', key, 'a:' .. address) == 1 then
    declined[#declined + 1] = peer
    declined[#declined + 1] = 'taken'
  elseif not since and seats > 0 and count >= seats then
    declined[#declined + 1] = peer
    declined[#declined + 1] = 'full'
  else
    seat(peer, address, card, generation ~= known_generation and since or nil)
    present[peer] = {peer = peer, node = node, epoch = epoch}
  end
end

if count > 0 or not is_new then
  save()
else
  generation = nil
end
return {0, declined, snapshot()}
