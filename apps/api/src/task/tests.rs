//! The executor and the timers on threads of `std`.
