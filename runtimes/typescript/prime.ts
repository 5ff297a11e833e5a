console.log('ready' as string)
