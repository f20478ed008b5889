-- Appends a producer's events, each once however often it is sent.
-- KEYS: stream, producer, then a key for each event that is to be remembered by its id.
-- ARGV: the number that the events follow, the number of the first of them, the highest epoch that the node knows,
-- events that the stream keeps, how long a producer and how long an id is remembered (in milliseconds), then the entries:
-- the place of its key in KEYS (0: none), how many events it holds, its bytes.
local stored = redis.call('GET', KEYS[2])
local taken = tonumber(stored or '0')
local epoch, sequence = stands(KEYS[1])
if taken < tonumber(ARGV[1]) then
  return { 'gap', epoch or '0', sequence or '0', stored or '' }
end
-- Who may not write here learns it before anything is added.
redis.call('SET', KEYS[2], stored or '0', 'PX', ARGV[5])
if not epoch then epoch, sequence = begin(KEYS[1], ARGV[3]) end

-- An entry has the number of its last event.
sequence = tonumber(sequence)
local last = tonumber(ARGV[2]) - 1
local before, failure = taken, nil
local marks = {}
for at = 7, #ARGV, 3 do
  local count = tonumber(ARGV[at + 1])
  last = last + count
  local mark = '-'
  if last > taken then
    local key = KEYS[tonumber(ARGV[at])]
    local noted = not key or redis.pcall('SET', key, '', 'NX', 'PX', ARGV[6])
    if type(noted) == 'table' and noted.err then
      failure = noted.err
      break
    end
    if noted then
      local answer = append(KEYS[1], epoch, sequence + count, ARGV[4], 'e', ARGV[at + 2])
      if answer.err then
        if key then redis.call('DEL', key) end
        failure = answer.err
        break
      end
      sequence = sequence + count
      mark = '+'
    end
    taken = last
  end
  marks[#marks + 1] = mark
end
if taken > before then
  redis.call('SET', KEYS[2], string.format('%.0f', taken), 'PX', ARGV[5])
end
local stands = { epoch, string.format('%.0f', sequence), string.format('%.0f', taken) }
if failure then return { 'refused', stands[1], stands[2], stands[3], failure } end
-- A mark for each entry: whether it was added now.
return { 'ok', stands[1], stands[2], stands[3], table.concat(marks) }
