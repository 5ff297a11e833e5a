console.log('before')
const nothing = undefined
nothing.method()
