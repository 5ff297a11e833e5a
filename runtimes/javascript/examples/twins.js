// One line for each source of chance.
const crypto = require('crypto')
const vm = require('vm')

console.log(Math.random())
console.log(vm.runInNewContext('Math.random()'))
console.log(crypto.randomBytes(16).toString('hex'))
console.log(crypto.randomUUID())
console.log(crypto.webcrypto.getRandomValues(new Uint32Array(4)).join())
console.log(crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }).d)
console.log(crypto.createECDH('prime256v1').generateKeys('hex'))
crypto.randomBytes(16, (error, bytes) => {
  console.log(bytes.toString('hex'))
  const { Worker } = require('worker_threads')
  const code = `const { randomBytes } = require('crypto')
    require('worker_threads').parentPort.postMessage([Math.random(), randomBytes(16).toString('hex')])`
  new Worker(code, { eval: true }).on('message', ([number, hex]) => console.log(number + '\n' + hex))
})
