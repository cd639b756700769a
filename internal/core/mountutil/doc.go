// Package mountutil makes, moves, finds and unmounts mounts, and says who uses one. It knows nothing of layers.
package mountutil
