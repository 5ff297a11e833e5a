// Loads what programs load most, so that a template's page cache holds it.
import { createHash } from 'crypto'
import { spawnSync } from 'child_process'
import { readFileSync } from 'fs'
import { join } from 'path'

const digest: string = createHash('sha256').update('warm').digest('hex')
console.log(JSON.stringify({ digest }), 'warm'.replace(/(\w)(\w)/, '$2$1'), join('a', 'b'), readFileSync('/dev/null').length)
spawnSync('true')
console.error(new Error('warm').stack)
