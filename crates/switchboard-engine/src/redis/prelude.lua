-- What every script begins with. A script is not undone when it fails: read everything before
-- writing anything.

-- Numbers are doubles, so positions (microseconds since 1970) are exact, but only `%.0f` shows all
-- their digits.
local function text(number)
  return string.format('%.0f', number)
end

-- Each field as its length, a colon and its bytes.
local function pack(fields)
  local packed = {}
  for i, field in ipairs(fields) do
    packed[i] = #field .. ':' .. field
  end
  return table.concat(packed)
end

