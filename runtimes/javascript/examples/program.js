// Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
const fs = require('fs')

const words = fs.readFileSync(0, 'utf8').split(/\s+/).filter(Boolean)
const numbers = words.map(Number).sort((a, b) => a - b)
const sum = numbers.reduce((a, b) => a + b, 0)
console.log(numbers.join(' '))
console.log('sum ' + sum)
fs.writeFileSync('sum.txt', sum + '\n')
process.exitCode = 3
