-- The beginning of every script. Redis does not roll back a failed script: a script must read all
-- its data before it writes.

-- Formats a number. Lua numbers are doubles, which hold positions (microseconds since 1970)
-- exactly; only `%.0f` prints all their digits.
local function text(number)
  return string.format('%.0f', number)
end

-- Packs fields: each field as its length, a colon and its bytes.
local function pack(fields)
  local packed = {}
  for i, field in ipairs(fields) do
    packed[i] = #field .. ':' .. field
  end
  return table.concat(packed)
end

