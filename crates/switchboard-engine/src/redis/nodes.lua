-- The list of nodes is one hash: node → packed epoch, beat, whether it is buried, status.
-- KEYS: the list, the logs that the node has opened. ARGV: beat, bury or forget; node; epoch; beat; status.
local list, opened = KEYS[1], KEYS[2]
local verb, node, epoch, beat, status = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

local function line_of_node()
  local packed = redis.call('HGET', list, node)
  if not packed then
    return nil
  end
  local fields, at = {}, 1
  for i = 1, 4 do
    local colon = string.find(packed, ':', at, true)
    local length = colon and tonumber(string.sub(packed, at, colon - 1))
    if not length or colon + length > #packed then
      error({err = 'GARBAGE ' .. list .. ' is not as Switchboard writes it'})
    end
    fields[i] = string.sub(packed, colon + 1, colon + length)
    at = colon + length + 1
  end
  return {
    epoch = tonumber(fields[1]) or 0, beat = tonumber(fields[2]) or 0,
    buried = fields[3] == '1', status = fields[4],
  }
end

local function save(line)
  local buried = line.buried and '1' or '0'
  redis.call('HSET', list, node, pack({text(line.epoch), text(line.beat), buried, line.status}))
end

local line = line_of_node()
local was_listed = line and 1 or 0

if verb == 'beat' then
  if not line or epoch > line.epoch then
    line = {epoch = epoch, beat = 0, buried = false, status = status}
  end
  local is_valid = epoch == line.epoch and not line.buried
  if is_valid and beat >= line.beat then
    line.beat, line.status = beat, status
    save(line)
  end
  return {is_valid and 1 or 0, was_listed, redis.call('HGETALL', list)}
end

local is_present = line and epoch == line.epoch

if verb == 'bury' then
  if is_present and beat == line.beat then
    line.buried = true
    save(line)
  end
  return line and (line.epoch > epoch or is_present and line.buried) and 1 or 0
end

if is_present then
  redis.call('HDEL', list, node)
  redis.call('DEL', opened)
end
return 1
