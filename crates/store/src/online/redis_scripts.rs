//! What happens in one step at the server: Lua scripts over the keys that `redis.rs` lists.

/// What [`MOVE_POINTER`] answers when the table is not the version that a change was made for.
pub(super) const MOVED: &str = "moved";

/// Compares and moves the pointer; one script, so nothing happens in between.
///
/// KEYS: pointer, rows of the new version. ARGV: the new pointer, as of, number of distinct keys, prefix of rows keys,
/// the pointer that must be there ('' for any). Answers the newer `as of` when there is one, `moved` when another
/// pointer is there, otherwise nothing. Layers that only the old pointer names are deleted.
pub(super) const MOVE_POINTER: &str = r"
local current = redis.call('GET', KEYS[1])
local function layers(pointer)
  local format, version, rest = string.match(pointer, '^([12]) (%d+) %d+ (.+)$')
  local found = {}
  if format == '1' then
    found[version] = true
  elseif format == '2' then
    for layer in string.gmatch(rest, '(%d+):%d+:%a') do found[layer] = true end
  end
  return found
end
if current then
  local as_of = string.match(current, '^[12] %d+ (%d+) .+$')
  if not as_of then
    return redis.error_reply('PACELINE the pointer ' .. KEYS[1] .. ' was not written by this version of Paceline')
  end
  if as_of > ARGV[2] then
    redis.call('UNLINK', KEYS[2])
    return as_of
  end
end
if ARGV[5] ~= '' and current ~= ARGV[5] then
  redis.call('UNLINK', KEYS[2])
  return 'moved'
end
if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[3]) then
  return redis.error_reply('PACELINE rows vanished while they were written; is maxmemory-policy noeviction?')
end
redis.call('PERSIST', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1])
if current then
  local kept = layers(ARGV[1])
  for layer in pairs(layers(current)) do
    if not kept[layer] then redis.call('UNLINK', ARGV[4] .. layer) end
  end
end
return false
";

/// Writes pushed rows unless the store holds something newer, in one step.
///
/// KEYS: pushed rows, pointer. ARGV: per row its key, time and value. Answers, per row, the newer time that stays, else an
/// empty text.
pub(super) const PUSH: &str = r"
local current = redis.call('GET', KEYS[2])
local as_of = current and string.match(current, '^[12] %d+ (%d+) .+$')
if current and not as_of then
  return redis.error_reply('PACELINE the pointer ' .. KEYS[2] .. ' was not written by this version of Paceline')
end
local answer = {}
for i = 1, #ARGV, 3 do
  local newest = as_of or ''
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  if stored and string.sub(stored, 1, 20) > newest then newest = string.sub(stored, 1, 20) end
  if newest > ARGV[i + 1] then
    answer[#answer + 1] = newest
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ARGV[i + 2])
    answer[#answer + 1] = ''
  end
end
return answer
";

/// Deletes pushed rows that a version has outdated.
///
/// KEYS: pushed rows. ARGV: as of when the version is, then keys.
pub(super) const SWEEP: &str = r"
for i = 2, #ARGV do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  if stored and string.sub(stored, 1, 20) < ARGV[1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return false
";

/// Takes keys out of every layer of a table and out of its pushed rows, in one step.
///
/// KEYS: pointer, counter of versions, pushed rows. ARGV: prefix of rows keys, then keys. Answers how many of them had a value. The new
/// pointer keeps a change that is being made for the old one from being applied.
pub(super) const ERASE: &str = r"
local current = redis.call('GET', KEYS[1])
local format, version, as_of, rest
local layers = {}
if current then
  format, version, as_of, rest = string.match(current, '^([12]) (%d+) (%d+) (.+)$')
  if not format then
    return redis.error_reply('PACELINE the pointer ' .. KEYS[1] .. ' was not written by this version of Paceline')
  end
  if format == '1' then
    layers[1] = { version, tonumber(rest), 'r' }
  else
    for number, rows, kind in string.gmatch(rest, '(%d+):(%d+):(%a)') do
      layers[#layers + 1] = { number, tonumber(rows), kind }
    end
  end
end
local erased, removed = 0, 0
for i = 2, #ARGV do
  local known, has_value = false, false
  for _, layer in ipairs(layers) do
    local stored = redis.call('HGET', ARGV[1] .. layer[1], ARGV[i])
    if stored then
      if not known then has_value = layer[3] == 'r' or string.byte(stored, 1) == 1 end
      known = true
      redis.call('HDEL', ARGV[1] .. layer[1], ARGV[i])
      layer[2] = layer[2] - 1
      removed = removed + 1
    end
  end
  local pushed = redis.call('HGET', KEYS[3], ARGV[i])
  if pushed then
    has_value = has_value or not as_of or string.sub(pushed, 1, 20) >= as_of
    redis.call('HDEL', KEYS[3], ARGV[i])
  end
  if has_value then erased = erased + 1 end
end
if removed > 0 then
  local pointer = string.format('2 %.0f %s', redis.call('INCR', KEYS[2]), as_of)
  for _, layer in ipairs(layers) do
    pointer = pointer .. string.format(' %s:%.0f:%s', layer[1], layer[2], layer[3])
  end
  redis.call('SET', KEYS[1], pointer)
end
return erased
";
