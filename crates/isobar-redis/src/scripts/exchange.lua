-- What an instance tells of a key, and what it is given. By the clock of this server alone.
-- ARGV: kind, units, period in microseconds, burst, wanted, owed, given back, mark of what is given back.
-- Answers: given, left, microseconds until there is more (0: there is some), microseconds that what is given lasts
-- (-1: as long as any), mark.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kind = ARGV[1]
local units, period, burst = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local want, owed, back, mark = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local state = redis.call('HMGET', KEYS[1], 'a', 'b', 'c')

if kind == 'b' then
  -- A bucket: how much is in it, and when that was. A clock that was set back lets nothing flow out.
  local level, at = tonumber(state[1]) or 0, tonumber(state[2]) or now
  if now > at then
    level = math.max(0, level - (now - at) * units / period)
  end
  if back > 0 then
    -- No more than is still there of what it was filled to then.
    local lead = math.max(0, (mark - now) * units / period)
    level = level - math.min(back, level, lead)
  end
  level = level + owed
  local there = math.max(0, math.floor(burst - level + 0.000001))
  local given = math.min(want, there)
  level = level + given
  local more = 0
  if given < want or there - given < 1 then
    more = math.max(1, math.ceil((level + 1 - burst) * period / units))
  end
  if level > 0 then
    redis.call('HSET', KEYS[1], 'a', string.format('%.17g', level), 'b', string.format('%.0f', now))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(level * period / units / 1000) + 1000))
  else
    redis.call('DEL', KEYS[1])
  end
  return {given, there - given, more, -1, math.floor(now + level * period / units)}
end

-- Windows: the number of the present one, what was taken in it, and in the one before. A clock that was set back goes on with
-- what was taken.
local window = math.floor(now / period)
local at, taken, before = tonumber(state[1]) or window, tonumber(state[2]) or 0, tonumber(state[3]) or 0
if at < window then
  before = at == window - 1 and taken or 0
  taken = 0
end
if mark == window then
  taken = math.max(0, taken - back)
elseif mark == window - 1 then
  before = math.max(0, before - back)
end
taken = taken + owed
local left = (window + 1) * period - now
local counted = taken
if kind == 's' then
  counted = taken + math.ceil(before * left / period)
end
local there = math.max(0, units - counted)
local given = math.min(want, there)
taken = taken + given
local more = 0
if given < want or there - given < 1 then
  if kind ~= 's' then
    more = left
  elseif taken + 1 <= units and before > 0 then
    more = left - (units - 1 - taken) * period / before
  else
    more = left + period - (units - 1) * period / taken
  end
  more = math.max(1, math.ceil(more))
end
redis.call('HSET', KEYS[1], 'a', string.format('%.0f', window), 'b', string.format('%.0f', taken), 'c', string.format('%.0f', before))
local lasts, keep = left, left
if kind == 's' then
  lasts, keep = -1, left + period
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(keep / 1000) + 1000))
return {given, there - given, more, lasts, window}
