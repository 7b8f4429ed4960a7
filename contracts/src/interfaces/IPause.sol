// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The guardian's pause
/// @notice The guardian, an account that nobody can change, can stop new channels, draws and finalisation for a short
/// time. Claims, proposals and withdrawals go on. A pause ends by itself, and time limits do not count it.
interface IPause {
    event Paused(uint64 from, uint64 until);

    error ZeroGuardian();
    error NotGuardian(address caller);
    error BadDuration(uint64 duration, uint64 max);
    error TooSoon(uint64 earliest);
    error InPause(uint64 until);

    /// @notice Pause for `duration` seconds. Only the guardian, and only when the last pause ended long enough ago.
    function pause(uint64 duration) external;

    /// @notice Revert with {InPause} during a pause.
    function requireActive() external view;

    /// @notice The seconds since `time` that were not in the newest pause; 0 for a time to come. Pauses are so far
    /// apart that any time limit that an older one has moved is over when the next can begin.
    function activeSince(uint64 time) external view returns (uint64);

    /// @notice The newest pause in [from, until), in seconds, and the block in which it began. All values are 0 if
    /// there was none.
    function latestPause() external view returns (uint64 from, uint64 until, uint64 fromBlock);

    /// @notice The only account that can call {pause}.
    function guardian() external view returns (address);
}
