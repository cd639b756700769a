//go:build linux

package mountutil

import (
	"os"
	"strings"
)

// BootID returns the kernel's name for this boot, which no other boot has (boot_id in random(4)), or "" if there is none.
func BootID() string {
	content, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}
