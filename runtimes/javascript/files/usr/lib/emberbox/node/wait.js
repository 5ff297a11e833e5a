/* The waiting interpreter: see spec/waiting-interpreter.md.

Node loads this module after it has started and before it opens its main script. Here it waits for an order, becomes the program that
the order names, and returns; what follows is an ordinary `node script.js`.

What is random in a process is started before the wait, so that two clones would draw the same. Two states are found in memory before
the wait and made anew after it: V8's generator, which seeds Math.random of every context, and OpenSSL's generators, behind everything
in `crypto`. OpenSSL seeds them again from the kernel once the clock reads less than the time of their last seeding, so that
time is put into the future; a generator that then does not note a new time was not reseeded, and the program is not started.
*/
'use strict'

const fs = require('fs')
const Module = require('module')

const SOCKET = 3
const ORDER_BYTES = 131072
const HEAP_BYTES = 256 * 1024 * 1024
// OpenSSL's usual intervals of reseeding: requests and seconds, of the first generator and of those of each thread.
const FIRST = { requests: 256, seconds: 3600 }
const OWN = { requests: 65536, seconds: 420 }
const MOST_STEPS = 64
const SEED_OPTION = '--random-seed='
const FUTURE = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0x40])

if (require('worker_threads').isMainThread) waitForOrder()

function waitForOrder () {
  let ready
  try {
    ready = prepare()
  } catch (error) {
    fs.writeSync(SOCKET, ('error ' + error.message).slice(0, 1000))
    process.reallyExit(1)
  }
  fs.writeSync(SOCKET, 'ready')
  const length = fs.readSync(SOCKET, ready.order)
  if (length === 0) process.reallyExit(0)
  fs.closeSync(SOCKET)
  try {
    separate(ready)
    become(ready, ready.order.latin1Slice(0, length).split('\0'))
  } catch (error) {
    fs.writeSync(2, 'emberbox: the program could not be started: ' + error.message + '\n')
    process.reallyExit(126)
  }
}

// -- before the wait -----------------------------------------------------------------------------------------------------

function prepare () {
  const crypto = require('crypto')
  const path = require('path')
  const v8 = require('v8')
  const seeding = process.execArgv.find((option) => option.startsWith(SEED_OPTION))
  if (!seeding) throw new Error(`start node with ${SEED_OPTION} and a number that nothing else in its memory is`)
  const seed = Number(seeding.slice(SEED_OPTION.length))
  for (const name of Object.keys(process.env)) if (/^(EMBERBOX_WAITING_.*|NODE_OPTIONS)$/.test(name)) delete process.env[name]
  process._preload_modules.length = 0
  process.execArgv = process.execArgv.filter((option) => option !== seeding)
  v8.setFlagsFromString('--random-seed=0')
  crypto.randomFillSync(Buffer.alloc(1))
  const memory = fs.openSync('/proc/self/mem', 'r+')
  const places = search(memory, seed)
  const ready = {
    crypto, path, memory, ...places, fresh: Buffer.alloc(16), time: Buffer.alloc(8), order: Buffer.alloc(ORDER_BYTES),
    urandom: fs.openSync('/dev/urandom', 'r')
  }
  for (const _ of 'twice') separate(ready)
  warm()
  return ready
}

/** Have Node load and compile what almost every program uses: its module loader, its output streams, its console. */
function warm () {
  const { Writable } = require('stream')
  const nowhere = new Writable({ write: (chunk, encoding, done) => done() })
  const quiet = new console.Console({ stdout: nowhere, stderr: nowhere })
  quiet.log('text %s', 1, [1], { a: 1 })
  quiet.error(new Error('text').message)
  if (process.stdout.writable && process.stderr.writable) require('./empty.js')
  for (const name of ['./empty.js', './wait.js']) forget(require.resolve(name))
}

/** Leave no trace of a module of this folder. */
function forget (file) {
  delete require.cache[file]
  for (const path of Object.keys(Module._pathCache)) if (Module._pathCache[path] === file) delete Module._pathCache[path]
  module.children.length = 0
}

function search (memory, seed) {
  const found = { v8: [], first: [], own: [] }
  for (const line of fs.readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const [, from, to] = /^(\w+)-(\w+) rw-p .*\[heap\]$/.exec(line) || []
    if (from === undefined) continue
    const start = parseInt(from, 16)
    const heap = Buffer.alloc(Math.min(parseInt(to, 16) - start, HEAP_BYTES))
    const length = fs.readSync(memory, heap, 0, heap.length, start)
    searchHeap(heap.subarray(0, length), start, seed, found)
  }
  found.v8 = found.v8.filter((place) => isLive(memory, place))
  for (const [name, places] of Object.entries(found)) {
    if (places.length !== 1) throw new Error(`${name}: found ${places.length} times`)
  }
  return { v8: found.v8, drbg: [found.first[0], found.own[0]] }
}

/** Tell whether V8 draws from the state at that place: an object that is hashed for the first time moves it by a step or a few. */
function isLive (memory, place) {
  const before = readState(memory, place)
  new WeakSet().add({})
  const after = readState(memory, place)
  let [s0, s1] = before
  for (let step = 0; step < MOST_STEPS; step++) {
    [s0, s1] = nextState(s0, s1)
    if (s0 === after[0] && s1 === after[1]) return true
  }
  return false
}

function readState (memory, place) {
  const state = Buffer.alloc(16)
  fs.readSync(memory, state, 0, 16, place)
  return [state.readBigUInt64LE(0), state.readBigUInt64LE(8)]
}

/** One step of V8's generator, xorshift128+. */
function nextState (s0, s1) {
  let next = s0 ^ ((s0 << 23n) & ((1n << 64n) - 1n))
  next ^= next >> 17n
  return [s1, next ^ s1 ^ (s1 >> 26n)]
}

function searchHeap (heap, start, seed, found) {
  const now = Date.now() / 1000
  for (const at of placesOf(heap, seed)) found.v8.push(start + at + 8)
  for (const [name, kind] of [['first', FIRST], ['own', OWN]]) {
    for (const at of placesOf(heap, kind.seconds)) {
      const [low, high, seconds] = [16, 12, 8].map((before) => heap.readUInt32LE(Math.max(0, at - before)))
      if ((low === kind.requests || high === kind.requests) && Math.abs(now - seconds) < 300) found[name].push(start + at - 8)
    }
  }
}

function placesOf (heap, number) {
  const needle = Buffer.alloc(8)
  needle.writeBigUInt64LE(BigInt(number))
  const places = []
  for (let at = heap.indexOf(needle); at >= 0; at = heap.indexOf(needle, at + 8)) {
    if (at % 8 === 0 && at + 24 <= heap.length) places.push(at)
  }
  return places
}

// -- after the wait ------------------------------------------------------------------------------------------------------

function separate (ready) {
  const { memory, fresh, urandom, v8, drbg, time, crypto } = ready
  for (const place of v8) {
    if (fs.readSync(urandom, fresh) !== fresh.length) throw new Error('there is no /dev/urandom')
    fs.writeSync(memory, fresh, 0, fresh.length, place)
  }
  for (const place of drbg) fs.writeSync(memory, FUTURE, 0, 8, place)
  crypto.randomFillSync(fresh)
  for (const place of drbg) {
    fs.readSync(memory, time, 0, 8, place)
    if (time.compare(FUTURE) === 0) throw new Error('the random generators cannot be told apart')
  }
}

function become ({ memory, urandom, path }, fields) {
  fs.closeSync(memory)
  fs.closeSync(urandom)
  const count = Number(fields[2])
  const [script, folder, , ...rest] = fields.map((field) => Buffer.from(field, 'latin1').toString())
  if (folder) process.chdir(folder)
  process.argv.splice(1, process.argv.length, path.resolve(script), ...rest.slice(1, count))
  runMain(process.argv[1])
  for (const pair of rest.slice(count)) process.env[pair.slice(0, pair.indexOf('='))] = pair.slice(pair.indexOf('=') + 1)
}

/** Have Node run that script where it would run what was named when it started; a bound function leaves no line in stack traces. */
function runMain (script) {
  const usual = Object.getOwnPropertyDescriptor(Module, 'runMain')
  const get = () => {
    Object.defineProperty(Module, 'runMain', usual)
    return usual.value.bind(Module, script)
  }
  Object.defineProperty(Module, 'runMain', { get, configurable: true, enumerable: true })
}
