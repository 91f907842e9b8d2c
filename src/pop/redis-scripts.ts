import { createHash } from 'node:crypto';

/*
 * What happens in Redis at one stroke. The lease of a frame is one string:
 *
 *   L <token> <node>   the node fetches it; expires unless renewed
 *   D <token> <node>   it was fetched, and the node has it; expires after a while
 *
 * Waiters are registered in the same script that finds the lease taken, and told by the script that
 * ends it, each on the channel of its node: no end can fall between looking and listening.
 */

/** Tokens only grow, also where Redis has lost everything: a lost counter begins with its clock. */
const nextToken = `
local function nextToken(fence)
  if redis.call('EXISTS', fence) == 0 then
    local now = redis.call('TIME')
    redis.call('SET', fence, string.format('%d%06d', now[1], now[2]))
  end
  return string.format('%.0f', redis.call('INCR', fence))
end
local function tell(waiters, prefix, message)
  for _, node in ipairs(redis.call('SMEMBERS', waiters)) do
    redis.call('PUBLISH', prefix .. node, message)
  end
  redis.call('DEL', waiters)
end
`;

export interface RedisScript {
  readonly lua: string;
  /** Hex of its hash, by which Redis knows it. */
  readonly sha1: string;
  /** How many of the first arguments are keys. */
  readonly keys: number;
}

function script(lua: string, keys: number): RedisScript {
  return { lua, keys, sha1: createHash('sha1').update(lua).digest('hex') };
}

/**
 * Keys: lease, waiters, fence. Arguments: node, milliseconds of a lease, of waiters, the lease that
 * is known to be dead or '', what to tell the owner or '', channel prefix.
 * Answers what the lease is now, and whether it is the caller's: `[1, lease]`, `[0, lease]`.
 */
const claim = `${nextToken}
local lease = redis.call('GET', KEYS[1])
if lease and lease == ARGV[4] then lease = false end
if not lease then
  lease = 'L ' .. nextToken(KEYS[3]) .. ' ' .. ARGV[1]
  redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
  return {1, lease}
end
if string.sub(lease, 1, 1) == 'L' then
  redis.call('SADD', KEYS[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  if ARGV[5] ~= '' then
    redis.call('PUBLISH', ARGV[6] .. string.match(lease, ' (%S+)$'), ARGV[5])
  end
end
return {0, lease}`;

/** Keys: lease. Arguments: the lease, milliseconds. Answers 0 where it is another's by now. */
const renew = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;

/**
 * Who has fetched it says so even if the lease was taken over meanwhile: that it is there is a fact.
 * Keys: lease, waiters. Arguments: the mark, milliseconds of it, message, channel prefix.
 */
const publish = `${nextToken}
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
tell(KEYS[2], ARGV[4], ARGV[3])
return 1`;

/**
 * Takes away a lease, or a mark that proved wrong, unless it is another one by now.
 * Keys: lease, waiters. Arguments: the lease, message, channel prefix.
 */
const release = `${nextToken}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
tell(KEYS[2], ARGV[3], ARGV[2])
return 1`;

/**
 * Keys: seen, info. Arguments: node, what it says of itself, milliseconds after which a silent node
 * is forgotten, and with the last of them everything, members at most. Answers all nodes, each with
 * the milliseconds since it was heard of. Who is forgotten makes room for who comes. A clock that was
 * set back leaves times in the future: they count as now.
 */
const beat = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {ARGV[1], 0}
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #all, 2 do
  local age = now - tonumber(all[at + 1])
  if age < -1000 then
    redis.call('ZADD', KEYS[1], now, all[at])
    age = 0
  end
  if age > tonumber(ARGV[3]) then
    redis.call('ZREM', KEYS[1], all[at])
    redis.call('HDEL', KEYS[2], all[at])
  elseif all[at] ~= ARGV[1] then
    answer[#answer + 1] = all[at]
    answer[#answer + 1] = age
  end
end
if #answer / 2 > tonumber(ARGV[4]) then
  return redis.error_reply('FULL too many nodes')
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return answer`;

/** Keys: seen, info. Arguments: node. */
const leave = `
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('HDEL', KEYS[2], ARGV[1])`;

/** Keys: info. Arguments: nodes. Answers what each says of itself. */
const infos = `return redis.call('HMGET', KEYS[1], unpack(ARGV))`;

/**
 * Keys: used, times, in-use, since, turn. Arguments: node, milliseconds for which a use counts that is not
 * told again, images at most, and of each image its name, whether it is `in` use or `out` of it, and how
 * often it was mounted since it was told last.
 */
const use = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[4], now, 'NX')
for at = 4, #ARGV, 3 do
  local image = ARGV[at]
  redis.call('ZADD', KEYS[1], now, image)
  if tonumber(ARGV[at + 2]) > 0 then redis.call('ZINCRBY', KEYS[2], ARGV[at + 2], image) end
  if ARGV[at + 1] == 'in' then
    redis.call('ZADD', KEYS[3], now, image .. ' ' .. ARGV[1])
  else
    redis.call('ZREM', KEYS[3], image .. ' ' .. ARGV[1])
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[2])
for _, image in ipairs(redis.call('ZRANGE', KEYS[1], 0, -(ARGV[3] + 1))) do
  redis.call('ZREM', KEYS[1], image)
  redis.call('ZREM', KEYS[2], image)
end
return 1`;

/**
 * Keys: the same. Arguments: milliseconds for which a use counts. Answers whether it is known for that
 * long what is in use, of each image its name, milliseconds since it was used, how often it was
 * mounted, and what is in use.
 */
const uses = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = redis.call('GET', KEYS[4])
local known = since and now - since >= tonumber(ARGV[1])
local answer = {}
local all = redis.call('ZREVRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #all, 2 do
  answer[#answer + 1] = all[at]
  answer[#answer + 1] = math.floor(now - all[at + 1])
  answer[#answer + 1] = tonumber(redis.call('ZSCORE', KEYS[2], all[at]) or 1)
end
return {known and 1 or 0, answer, redis.call('ZRANGEBYSCORE', KEYS[3], now - ARGV[1], '+inf')}`;

/** Keys: turn. Arguments: node, milliseconds. Answers 1 to one node at a time. */
const turn = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0`;

/** Keys: any. Arguments: channel, message. */
const announce = `return redis.call('PUBLISH', ARGV[1], ARGV[2])`;

export const redisScripts = {
  claim: script(claim, 3),
  renew: script(renew, 1),
  publish: script(publish, 2),
  release: script(release, 2),
  beat: script(beat, 2),
  leave: script(leave, 2),
  infos: script(infos, 1),
  use: script(use, 5),
  uses: script(uses, 5),
  turn: script(turn, 1),
  announce: script(announce, 1),
} satisfies Record<string, RedisScript>;

export type ScriptName = keyof typeof redisScripts;
