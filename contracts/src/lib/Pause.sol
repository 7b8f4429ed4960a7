// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPause} from "../interfaces/IPause.sol";

/// @dev See {IPause}.
abstract contract Pause is IPause {
    struct Interval {
        uint64 from;
        uint64 until;
        uint64 fromBlock;
    }

    /// @inheritdoc IPause
    address public immutable guardian;
    uint64 private immutable _durationMax;
    uint64 private immutable _gap;

    /// @inheritdoc IPause
    Interval public latestPause;

    constructor(address guardian_, uint64 durationMax, uint64 gap) {
        if (guardian_ == address(0)) revert ZeroGuardian();
        guardian = guardian_;
        (_durationMax, _gap) = (durationMax, gap);
    }

    /// @inheritdoc IPause
    function pause(uint64 duration) external {
        (uint64 now_, uint64 last) = (uint64(block.timestamp), latestPause.until);
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        if (duration == 0 || duration > _durationMax) revert BadDuration(duration, _durationMax);
        if (last != 0 && now_ < last + _gap) revert TooSoon(last + _gap);
        latestPause = Interval({from: now_, until: now_ + duration, fromBlock: uint64(block.number)});
        emit Paused(now_, now_ + duration);
    }

    /// @inheritdoc IPause
    function requireActive() public view {
        uint64 until = latestPause.until;
        if (block.timestamp < until) revert InPause(until);
    }

    /// @inheritdoc IPause
    function activeSince(uint64 time) public view returns (uint64) {
        uint64 now_ = uint64(block.timestamp);
        if (time >= now_) return 0;
        (uint64 start, uint64 end) = (latestPause.from, latestPause.until);
        if (start < time) start = time;
        if (end > now_) end = now_;
        return now_ - time - (start < end ? end - start : 0);
    }

    /// @dev True if the newest pause began in one of the blocks from `first` to `last`.
    function _pausedWithin(uint64 first, uint64 last) internal view returns (bool) {
        uint64 fromBlock = latestPause.fromBlock;
        return first <= fromBlock && fromBlock <= last;
    }
}
