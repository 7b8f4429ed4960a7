// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {IPause} from "../../src/interfaces/IPause.sol";
import {IPaymentChannels} from "../../src/interfaces/IPaymentChannels.sol";

// What the contracts offer besides their interfaces. Tests deploy compiled code and never import a contract, so the
// code under test is compiled as it is shipped, and the tests themselves quickly.

interface IWired {
    error NotDeployer(address caller);
    error ZeroRole();

    function rewards() external view returns (address);
    function deployer() external view returns (address);
}

interface IToken is IERC20, IERC20Permit, IVotes {
    function clock() external view returns (uint48);
    function CLOCK_MODE() external view returns (string memory);
}

interface IStaking is INodeStaking, IWired {
    function accPerShare() external view returns (uint256);
    function accRemainder() external view returns (uint256);
    function disputes() external view returns (address);
}

interface IRewards is IAttributionRewards, IPause {}

interface IChannels is IPaymentChannels, IWired {}
