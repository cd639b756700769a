//go:build !linux

// Command run works on Linux alone.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "run: the drivers work on Linux alone")
	os.Exit(1)
}
