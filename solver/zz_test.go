package solver

import (
	"testing"
	"unsafe"
)

func TestSizes(t *testing.T) {
	t.Log("vertex", unsafe.Sizeof(vertex{}), "edgeState", unsafe.Sizeof(edgeState{}), "opState", unsafe.Sizeof(opState{}), "progress", unsafe.Sizeof(progress{}), "execution", unsafe.Sizeof(execution{}), "execCall", unsafe.Sizeof(execCall{}), "mapCall", unsafe.Sizeof(mapCall{}), "task", unsafe.Sizeof(task{}), "CacheKey", unsafe.Sizeof(CacheKey{}))
}
