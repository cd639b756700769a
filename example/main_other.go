//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "example: a union mount needs Linux; this is %s\n", runtime.GOOS)
	os.Exit(1)
}
