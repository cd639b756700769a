//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// openPort opens the virtio-serial port of the given name.
func openPort(name string) (*os.File, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(string(content)) == name {
			device := filepath.Base(filepath.Dir(file))
			return os.OpenFile(filepath.Join("/dev", device), os.O_WRONLY, 0)
		}
	}
	return nil, fmt.Errorf("there is no virtio-serial port %s; does the kernel have CONFIG_VIRTIO_CONSOLE?", name)
}

// messages sends messages to the host.
type messages struct{ encoder *json.Encoder }

func (m messages) send(msg wire.Message) error {
	if err := m.encoder.Encode(msg); err != nil {
		return fmt.Errorf("send to the host: %w", err)
	}
	return nil
}

// announce writes a line to the kernel's log, and so to the console. A missing line
// is no reason to stop.
func announce(text string) {
	_ = os.WriteFile("/dev/kmsg", []byte("<5>"+text), 0)
}
