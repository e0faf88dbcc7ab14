//! Numbers and types of the functions of WASI preview 1.
//!
//! Source: the witx definition of `wasi_snapshot_preview1`, lowered to core WebAssembly types.

/// Module name of the functions.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Type of a host function's parameter or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
}

macro_rules! functions {
    ($($variant:ident = $number:literal, $name:literal, [$($param:ident)*] -> [$($result:ident)*];)*) => {
        /// Number of a WASI function, as in [`CallRequest::func`](crate::call::CallRequest::func).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum WasiFunction {
            $(#[doc = concat!("`", $name, "`")] $variant = $number,)*
        }

        impl WasiFunction {
            /// All functions, by ascending number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The function with the given number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The function with the given name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|f| f.name() == name)
            }

            /// Name by which programs import the function.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Types of the function's parameters.
            pub const fn params(self) -> &'static [ValueType] {
                match self {
                    $(Self::$variant => &[$(ValueType::$param),*],)*
                }
            }

            /// Types of the function's results: one error number, or nothing.
            pub const fn results(self) -> &'static [ValueType] {
                match self {
                    $(Self::$variant => &[$(ValueType::$result),*],)*
                }
            }
        }
    };
}

functions! {
    ArgsGet = 1, "args_get", [I32 I32] -> [I32];
    ArgsSizesGet = 2, "args_sizes_get", [I32 I32] -> [I32];
    EnvironGet = 3, "environ_get", [I32 I32] -> [I32];
    EnvironSizesGet = 4, "environ_sizes_get", [I32 I32] -> [I32];
    ClockResGet = 5, "clock_res_get", [I32 I32] -> [I32];
    ClockTimeGet = 6, "clock_time_get", [I32 I64 I32] -> [I32];
    FdAdvise = 7, "fd_advise", [I32 I64 I64 I32] -> [I32];
    FdAllocate = 8, "fd_allocate", [I32 I64 I64] -> [I32];
    FdClose = 9, "fd_close", [I32] -> [I32];
    FdDatasync = 10, "fd_datasync", [I32] -> [I32];
    FdFdstatGet = 11, "fd_fdstat_get", [I32 I32] -> [I32];
    FdFdstatSetFlags = 12, "fd_fdstat_set_flags", [I32 I32] -> [I32];
    FdFdstatSetRights = 13, "fd_fdstat_set_rights", [I32 I64 I64] -> [I32];
    FdFilestatGet = 14, "fd_filestat_get", [I32 I32] -> [I32];
    FdFilestatSetSize = 15, "fd_filestat_set_size", [I32 I64] -> [I32];
    FdFilestatSetTimes = 16, "fd_filestat_set_times", [I32 I64 I64 I32] -> [I32];
    FdPread = 17, "fd_pread", [I32 I32 I32 I64 I32] -> [I32];
    FdPrestatGet = 18, "fd_prestat_get", [I32 I32] -> [I32];
    FdPrestatDirName = 19, "fd_prestat_dir_name", [I32 I32 I32] -> [I32];
    FdPwrite = 20, "fd_pwrite", [I32 I32 I32 I64 I32] -> [I32];
    FdRead = 21, "fd_read", [I32 I32 I32 I32] -> [I32];
    FdReaddir = 22, "fd_readdir", [I32 I32 I32 I64 I32] -> [I32];
    FdRenumber = 23, "fd_renumber", [I32 I32] -> [I32];
    FdSeek = 24, "fd_seek", [I32 I64 I32 I32] -> [I32];
    FdSync = 25, "fd_sync", [I32] -> [I32];
    FdTell = 26, "fd_tell", [I32 I32] -> [I32];
    FdWrite = 27, "fd_write", [I32 I32 I32 I32] -> [I32];
    PathCreateDirectory = 28, "path_create_directory", [I32 I32 I32] -> [I32];
    PathFilestatGet = 29, "path_filestat_get", [I32 I32 I32 I32 I32] -> [I32];
    PathFilestatSetTimes = 30, "path_filestat_set_times", [I32 I32 I32 I32 I64 I64 I32] -> [I32];
    PathLink = 31, "path_link", [I32 I32 I32 I32 I32 I32 I32] -> [I32];
    PathOpen = 32, "path_open", [I32 I32 I32 I32 I32 I64 I64 I32 I32] -> [I32];
    PathReadlink = 33, "path_readlink", [I32 I32 I32 I32 I32 I32] -> [I32];
    PathRemoveDirectory = 34, "path_remove_directory", [I32 I32 I32] -> [I32];
    PathRename = 35, "path_rename", [I32 I32 I32 I32 I32 I32] -> [I32];
    PathSymlink = 36, "path_symlink", [I32 I32 I32 I32 I32] -> [I32];
    PathUnlinkFile = 37, "path_unlink_file", [I32 I32 I32] -> [I32];
    PollOneoff = 38, "poll_oneoff", [I32 I32 I32 I32] -> [I32];
    ProcExit = 39, "proc_exit", [I32] -> [];
    ProcRaise = 40, "proc_raise", [I32] -> [I32];
    SchedYield = 41, "sched_yield", [] -> [I32];
    RandomGet = 42, "random_get", [I32 I32] -> [I32];
    SockAccept = 43, "sock_accept", [I32 I32 I32] -> [I32];
    SockRecv = 44, "sock_recv", [I32 I32 I32 I32 I32 I32] -> [I32];
    SockSend = 45, "sock_send", [I32 I32 I32 I32 I32] -> [I32];
    SockShutdown = 46, "sock_shutdown", [I32 I32] -> [I32];
}

#[cfg(test)]
mod tests {
    use super::WasiFunction;
    use crate::context::MAX_CALL_ARGS;

    #[test]
    fn names_and_numbers_map_back() {
        assert_eq!(WasiFunction::ALL.len(), 46);
        for &f in WasiFunction::ALL {
            assert_eq!(WasiFunction::from_number(f as u32), Some(f));
            assert_eq!(WasiFunction::from_name(f.name()), Some(f));
            assert!(f.params().len() <= MAX_CALL_ARGS);
        }
    }
}
