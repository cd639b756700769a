// Package inuse finds out which layers are mounted, in any mount namespace, and notes the names that aufs gives to its mounts.
package inuse
