// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Token transfers from the caller to this contract, in full or not at all
library Tokens {
    using SafeERC20 for IERC20;

    /// @dev The totals count the requested amount, so a token that keeps a part of each transfer cannot be used.
    error TokenTakesFee(uint256 asked, uint256 received);

    /// @notice Take `amount` from the caller's allowance.
    function pull(IERC20 token, uint256 amount) internal {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert TokenTakesFee(amount, received);
    }

    /// @notice Use the caller's permit if it is still unused. Somebody who saw it may have sent it before, and then the
    /// allowance is there.
    function tryPermit(IERC20 token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) internal {
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
    }
}
