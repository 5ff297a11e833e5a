// One line for each source of chance.
import { randomBytes, randomUUID, webcrypto } from 'crypto'
import { runInNewContext } from 'vm'

console.log(Math.random())
console.log(runInNewContext('Math.random()'))
console.log(randomBytes(16).toString('hex'))
console.log(randomUUID())
console.log((webcrypto as any).getRandomValues(new Uint32Array(4)).join())
