// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {ERC20Wrapper} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Wrapper.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Tokens} from "./lib/Tokens.sol";

/// @title Votes for a token that has none
/// @notice For a network whose OPEN is a plain ERC-20. Each token that is deposited is a vote for whom its holder
/// delegates to, and can be taken out at any time.
contract WrappedVotes is ERC20Wrapper, ERC20Votes {
    using Tokens for IERC20;

    error BadReceiver(address account);

    constructor(IERC20 underlying_)
        ERC20("Votes of OpenLedger", "vOPEN")
        ERC20Wrapper(underlying_)
        EIP712("OpenLedger Votes", "1")
    {}

    /// @notice Take `value` from the caller's allowance, and give `account` as much. A token that keeps a part of each
    /// transfer is refused, since the last who left would get nothing.
    function depositFor(address account, uint256 value) public override returns (bool) {
        if (account == address(this)) revert BadReceiver(account);
        underlying().pull(value);
        _mint(account, value);
        return true;
    }

    /// @notice Votes are counted by time, as those of OpenToken.
    function clock() public view override returns (uint48) {
        return uint48(block.timestamp);
    }

    // solhint-disable-next-line func-name-mixedcase
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    function decimals() public view override(ERC20, ERC20Wrapper) returns (uint8) {
        return super.decimals();
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Votes) {
        super._update(from, to, value);
    }
}
