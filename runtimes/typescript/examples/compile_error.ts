// Every word is JavaScript: what is wrong is a type.
console.log('before')
const lengths: number[] = ['a', 'bb'].map((word) => word.toUpperCase())
console.log(lengths)
