-- Who shares limits here: says that an instance does for so many milliseconds more, and forgets who did not say so.
-- ARGV: the instance, milliseconds (0: it leaves). Answers: how many there are.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local stays = tonumber(ARGV[2])
if stays > 0 then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + stays), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return redis.call('ZCARD', KEYS[1])
