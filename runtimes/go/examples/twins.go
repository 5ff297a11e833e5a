package main

import (
	crypto "crypto/rand"
	"fmt"
	"math/rand"
	"time"
)

func main() {
	var bytes [8]byte
	if _, err := crypto.Read(bytes[:]); err != nil {
		panic(err)
	}
	fmt.Printf("crypto/rand %x\n", bytes)
	rand.Seed(time.Now().UnixNano())
	fmt.Println("math/rand", rand.Uint64())
}
