-- Where the history and a producer stand; begins an epoch where there is none, or where `lost` is the present one.
-- KEYS: stream, producer. ARGV: the highest epoch that the node knows, the lost epoch or an empty text.
local epoch, sequence = stands(KEYS[1])
if not epoch or epoch == ARGV[2] then
  local above = ARGV[1]
  if epoch and tonumber(epoch) > tonumber(above) then above = epoch end
  epoch, sequence = begin(KEYS[1], above)
end
return { 'ok', epoch, sequence, redis.call('GET', KEYS[2]) or '' }
