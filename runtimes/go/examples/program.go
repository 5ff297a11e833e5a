package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
)

func main() {
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Split(bufio.ScanWords)
	var numbers []int
	sum := 0
	for scanner.Scan() {
		number, err := strconv.Atoi(scanner.Text())
		if err != nil {
			panic(err)
		}
		numbers = append(numbers, number)
		sum += number
	}
	sort.Ints(numbers)
	words := make([]string, len(numbers))
	for i, number := range numbers {
		words[i] = strconv.Itoa(number)
	}
	fmt.Println(strings.Join(words, " "))
	fmt.Println("sum", sum)
	if err := os.WriteFile("sum.txt", []byte(strconv.Itoa(sum)+"\n"), 0o644); err != nil {
		panic(err)
	}
	os.Exit(3)
}
