-- The node list is one hash: node -> packed epoch, heartbeat counter, whether it is fenced, status.
-- KEYS: the node list, the subscriptions of the node, the format version of the data. ARGV: beat (heartbeat), bury
-- (fence the node) or forget (remove it from the list); node; epoch; heartbeat counter; status; the format version of
-- the node; the seconds for which it is kept.
local list, subscriptions, format = KEYS[1], KEYS[2], KEYS[3]
local verb, node, epoch, beat, status = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local own_format, format_expiry = ARGV[6], ARGV[7]

local function read_entry()
  local packed = redis.call('HGET', list, node)
  if not packed then
    return nil
  end
  local fields, at = {}, 1
  for i = 1, 4 do
    local colon = string.find(packed, ':', at, true)
    local length = colon and tonumber(string.sub(packed, at, colon - 1))
    if not length or colon + length > #packed then
      error({err = 'GARBAGE ' .. list .. ' is malformed'})
    end
    fields[i] = string.sub(packed, colon + 1, colon + length)
    at = colon + length + 1
  end
  return {
    epoch = tonumber(fields[1]) or 0, beat = tonumber(fields[2]) or 0,
    is_fenced = fields[3] == '1', status = fields[4],
  }
end

local function save(entry)
  local is_fenced = entry.is_fenced and '1' or '0'
  redis.call('HSET', list, node, pack({text(entry.epoch), text(entry.beat), is_fenced, entry.status}))
end

local found_format = redis.call('GET', format)
if found_format and found_format ~= own_format then
  error({err = 'FORMAT ' .. found_format})
end
local entry = read_entry()
local was_listed = entry and 1 or 0

if verb == 'beat' then
  redis.call('SET', format, own_format, 'EX', format_expiry)
  if not entry or epoch > entry.epoch then
    entry = {epoch = epoch, beat = 0, is_fenced = false, status = status}
  end
  local is_valid = epoch == entry.epoch and not entry.is_fenced
  if is_valid and beat >= entry.beat then
    entry.beat, entry.status = beat, status
    save(entry)
  end
  return {is_valid and 1 or 0, was_listed, redis.call('HGETALL', list)}
end

local is_present = entry and epoch == entry.epoch

if verb == 'bury' then
  if is_present and beat == entry.beat then
    entry.is_fenced = true
    save(entry)
  end
  return entry and (entry.epoch > epoch or is_present and entry.is_fenced) and 1 or 0
end

if is_present then
  redis.call('HDEL', list, node)
  redis.call('DEL', subscriptions)
end
return 1
