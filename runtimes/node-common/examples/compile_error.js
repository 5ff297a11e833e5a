console.log('before')
const number = (1 + ;
