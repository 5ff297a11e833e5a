// Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
import { readFileSync, writeFileSync } from 'fs'

const numbers: number[] = readFileSync(0, 'utf8').split(/\s+/).filter(Boolean).map(Number)
numbers.sort((a: number, b: number) => a - b)
const sum: number = numbers.reduce((a, b) => a + b, 0)
console.log(numbers.join(' '))
console.log(`sum ${sum}`)
writeFileSync('sum.txt', `${sum}\n`)
process.exitCode = 3
