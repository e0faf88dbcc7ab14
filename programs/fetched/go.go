// Goroutines, timers, files and a panic, compiled by the Go compiler for WASI.
package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

func count(path string) (map[string]int, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	words := make(map[string]int)
	scanner := bufio.NewScanner(file)
	scanner.Split(bufio.ScanWords)
	for scanner.Scan() {
		words[strings.ToLower(strings.Trim(scanner.Text(), ".,;:()`"))]++
	}
	return words, scanner.Err()
}

func main() {
	numbers, sums := make(chan int), make(chan int)
	var workers sync.WaitGroup
	for i := 0; i < 4; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			sum := 0
			for number := range numbers {
				sum += number * number % 1000
			}
			sums <- sum
		}()
	}
	go func() {
		for i := 0; i < 100000; i++ {
			numbers <- i
		}
		close(numbers)
		workers.Wait()
		close(sums)
	}()
	total := 0
	for sum := range sums {
		total += sum
	}
	begin := time.Now()
	time.Sleep(20 * time.Millisecond)
	fmt.Println("total", total, "slept", time.Since(begin) >= 20*time.Millisecond)

	entries, err := os.ReadDir("/data")
	fmt.Println(len(entries), err)
	for _, entry := range entries {
		words, err := count(filepath.Join("/data", entry.Name()))
		if err != nil {
			fmt.Println(err)
			continue
		}
		var names []string
		for name := range words {
			names = append(names, name)
		}
		sort.Slice(names, func(i, j int) bool {
			a, b := names[i], names[j]
			return words[a] > words[b] || words[a] == words[b] && a < b
		})
		fmt.Println(entry.Name(), len(names), names[:5])
	}
	if err := os.WriteFile("/data/from-go", []byte("written\n"), 0o644); err != nil {
		fmt.Println(err)
	}
	if len(os.Args) > 1 {
		panic(os.Args[1])
	}
}
