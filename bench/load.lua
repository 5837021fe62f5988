-- wrk, one connection a thread: asks what is in its own file, one after the other, each once, and writes down when each was
-- asked, answered and how. wrk itself neither stops at the end of a list nor leaves its times uncorrected.
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } pgbooking_time; int clock_gettime(int clock, pgbooking_time *at);")
local time = ffi.new("pgbooking_time")

local function now()
  ffi.C.clock_gettime(1, time)
  return tonumber(time.s) * 1e6 + tonumber(time.ns) / 1e3
end

local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(arguments)
  folder = arguments[1]
  -- Not kept open: wrk cannot use a connection whose file descriptor is beyond three for each connection, and never says so.
  local file = assert(io.open(folder .. "/" .. number .. ".in", "rb"))
  asking, place = file:read("*a"), 1
  file:close()
  answers = {}
  -- wrk asks its first thread for a request that it does not send.
  tries = number == 0 and 1 or 0
end

function request()
  if tries == 1 then
    tries = 0
    ahead = take()
    return ahead
  end
  local text = ahead or take()
  ahead = nil
  if not text then
    finish()
    return ""
  end
  asked = now()
  return text
end

function take()
  local length, from = asking:match("^(%d+)\n()", place)
  if not length then return nil end
  place = from + length
  return asking:sub(from, place - 1)
end

function response(status)
  answers[#answers + 1] = string.format("%.1f %.1f %d", asked, now(), status)
end

function finish()
  local out = assert(io.open(folder .. "/" .. number .. ".part", "w"))
  out:write(table.concat(answers, "\n"))
  out:close()
  os.rename(folder .. "/" .. number .. ".part", folder .. "/" .. number .. ".out")
end
