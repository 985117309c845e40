-- ARGV: ..., known generation, known head, maximum number of members, then peer, address, since (or
-- empty), metadata of each wanted member.
local known_generation, known_head, members_max = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local rejected = {}

if fence >= epoch then
  return {1, rejected, snapshot()}
end

local is_wanted, wanted_since, present, replaced = {}, {}, {}, {}
for i = 8, #ARGV, 4 do
  if not is_wanted[ARGV[i]] then
    is_wanted[ARGV[i]] = true
    wanted_since[ARGV[i]] = tonumber(ARGV[i + 2])
  end
  present[ARGV[i]] = member_of(ARGV[i])
end
local own = own_members()

local is_new = not generation
if
  is_new
  or generation < known_generation
  or (generation == known_generation and head < known_head)
then
  begin_generation(known_generation, known_head)
end

-- Removals come first: a removed member must not block the address or the room for a new one. `aloud` is
-- the stored text of an announced leave.
for _, member in ipairs(own) do
  if not is_wanted[member.peer] then
    remove_member(member, 'aloud')
  elseif (wanted_since[member.peer] or 0) > member.since then
    remove_member(member, 'lost')
    present[member.peer], replaced[member.peer] = nil, true
  end
end

for i = 8, #ARGV, 4 do
  local peer, address, since, metadata = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  local member = present[peer]
  if member then
    if member.node ~= node or member.epoch < epoch then
      member.node, member.epoch = node, epoch
      redis.call('HSET', key, 's:' .. peer, pack_member(member))
    end
  elseif redis.call('HEXISTS', key, 'a:' .. address) == 1 then
    rejected[#rejected + 1] = peer
    rejected[#rejected + 1] = 'taken'
  elseif not since and members_max > 0 and count >= members_max then
    rejected[#rejected + 1] = peer
    rejected[#rejected + 1] = 'full'
  else
    local is_restored = generation ~= known_generation and not replaced[peer]
    -- The head must not be behind an earlier join position of the member.
    head = math.max(head, since or 0)
    add_member(peer, address, metadata, is_restored and since or nil)
    present[peer] = {peer = peer, node = node, epoch = epoch}
  end
end

if count > 0 or not is_new then
  save()
else
  generation = nil
end
return {0, rejected, snapshot()}
