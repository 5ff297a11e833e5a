console.log('before')
const number: number = (1 + ;
