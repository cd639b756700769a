// Package mountutil makes, moves, finds and unmounts mounts, and finds out who uses a mount. It knows nothing of layers.
package mountutil
