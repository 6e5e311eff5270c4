// SPDX-License-Identifier: GPL-2.0-or-later

// Goroutines on four threads of the system: a mutex, channels, a wait group, timers, the collector.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

func main() {
	runtime.GOMAXPROCS(4)
	var done sync.WaitGroup
	var mutex sync.Mutex
	sums := map[int]int{}
	ended := make(chan int, 4)
	for worker := 0; worker < 8; worker++ {
		done.Add(1)
		go func(worker int) {
			defer done.Done()
			for step := 0; step < 200; step++ {
				mutex.Lock()
				sums[worker] += step
				mutex.Unlock()
				garbage := make([]byte, 10000)
				garbage[step] = 1
			}
			ended <- worker
		}(worker)
	}
	go func() { done.Wait(); close(ended) }()
	workers, total := 0, 0
	for worker := range ended {
		workers += worker
	}
	for _, sum := range sums {
		total += sum
	}
	runtime.GC()
	select {
	case <-time.After(20 * time.Millisecond):
	}
	fmt.Println("workers", workers, "total", total, "maps", len(sums))
}
