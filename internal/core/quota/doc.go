// Package quota limits what the files of a directory may take, by the project quotas of ext4, xfs and other file systems. It needs neither
// cgo nor a program.
package quota
