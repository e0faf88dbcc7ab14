-- Closures, tables, strings, metatables and floats.
local scale = tonumber((...)) or 1

local function queens(n)
  local count, columns, up, down = 0, {}, {}, {}
  local function place(row)
    if row > n then count = count + 1 return end
    for c = 1, n do
      if not (columns[c] or up[row + c] or down[row - c]) then
        columns[c], up[row + c], down[row - c] = true, true, true
        place(row + 1)
        columns[c], up[row + c], down[row - c] = nil, nil, nil
      end
    end
  end
  place(1)
  return count
end

local Vector = {}
Vector.__index = Vector
Vector.__add = function(a, b) return setmetatable({ x = a.x + b.x, y = a.y + b.y }, Vector) end
function Vector:length() return math.sqrt(self.x * self.x + self.y * self.y) end

local function spiral(n)
  local at = setmetatable({ x = 0.0, y = 0.0 }, Vector)
  for i = 1, n do
    at = at + setmetatable({ x = math.cos(i) * i, y = math.sin(i) * i }, Vector)
  end
  return at:length()
end

local function words(n)
  local text = {}
  for i = 1, n do text[#text + 1] = string.format("w%d", i * 7919 % 101) end
  local counts = {}
  for w in table.concat(text, " "):gmatch("%a%d+") do counts[w] = (counts[w] or 0) + 1 end
  local keys = {}
  for k in pairs(counts) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return a < b
  end)
  return #keys, keys[1], counts[keys[1]], (table.concat(keys, ","):reverse():upper():sub(1, 12))
end

for _ = 1, scale do
  print(queens(6))
  print(string.format("%.6f", spiral(3000)))
  print(words(3000))
  print(7 // 2, -7 % 3, 1 << 40, 2 ^ 0.5 > 1.414, utf8.char(8364, 955), #("ü"))
end
