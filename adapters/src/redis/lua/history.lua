-- Where the history stands: its epoch and the last sequence number in it; nothing where there is none.
local function stands(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then
    if string.find(info.err, 'no such key', 1, true) then return nil end
    error(info, 0)
  end
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      return string.match(info[at + 1], '^(%d+)-(%d+)$')
    end
  end
end

-- Begins an epoch above `above`: the entry with the number 0 marks its place in the stream.
local function begin(stream, above)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local epoch = string.format('%.0f', math.max(now, tonumber(above) + 1))
  redis.call('XADD', stream, epoch .. '-0', 'epoch', epoch)
  return epoch, '0'
end

-- Adds an entry with the number `sequence`, and trims what lies more than `most` numbers before it. An error is answered.
local function append(stream, epoch, sequence, most, ...)
  local id = string.format('%s-%.0f', epoch, sequence)
  local oldest = sequence - tonumber(most)
  local answer
  if oldest > 0 then
    answer = redis.pcall('XADD', stream, 'MINID', '~', string.format('%s-%.0f', epoch, oldest), id, ...)
  else
    answer = redis.pcall('XADD', stream, id, ...)
  end
  if type(answer) == 'table' then return answer end
  return {}
end
