interface Thing { method(): void }

console.log('before')
const nothing = undefined as unknown as Thing
nothing.method()
