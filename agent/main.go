package main

var version = "dev"

func main() { _ = version }
