module github.com/merlon-go/merlon/bench

go 1.26.5

require (
	filippo.io/age v1.3.2
	github.com/coder/websocket v1.8.15
	github.com/google/renameio/v2 v2.0.2
	github.com/gorilla/websocket v1.5.3
	github.com/hashicorp/golang-lru/v2 v2.0.7
	github.com/jellydator/ttlcache/v3 v3.4.1
	github.com/maypok86/otter/v2 v2.4.0
	github.com/merlon-go/merlon v0.0.0
	github.com/minio/sio v0.4.1
	github.com/natefinch/atomic v1.0.1
	github.com/patrickmn/go-cache v2.1.0+incompatible
	github.com/tink-crypto/tink-go/v2 v2.9.0
	github.com/unrolled/secure v1.17.0
	github.com/zalando/go-keyring v0.2.8
	golang.org/x/crypto v0.58.0
)

require (
	filippo.io/hpke v0.4.0 // indirect
	github.com/danieljoos/wincred v1.2.3 // indirect
	github.com/godbus/dbus/v5 v5.2.2 // indirect
	golang.org/x/sync v0.16.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)

replace github.com/merlon-go/merlon => ../
